"""The rules that safety applies: pure functions of one case, each naming every reason it finds."""
