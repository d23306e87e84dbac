"""How OpenD keeps a connection to itself: RSA for the first message, then AES in CBC mode, where both have the key."""

from pathlib import Path

from Crypto.Cipher import AES, PKCS1_v1_5
from Crypto.PublicKey import RSA
from Crypto.Util.Padding import pad, unpad

_PLAIN_BLOCK, _CIPHER_BLOCK = 100, 128
"""What the client's library can do: a key of 1024 bits."""


class FirstMessage:
    """The key that client and OpenD were given as a file."""

    def __init__(self, key_file: Path) -> None:
        self._cipher: PKCS1_v1_5.PKCS115_Cipher = PKCS1_v1_5.new(
            RSA.import_key(key_file.read_text())
        )

    def encrypt(self, plain: bytes) -> bytes:
        """Return it in blocks."""
        blocks = (plain[n : n + _PLAIN_BLOCK] for n in range(0, len(plain), _PLAIN_BLOCK))
        return b"".join(self._cipher.encrypt(block) for block in blocks)

    def decrypt(self, text: bytes) -> bytes:
        """Take it apart; ValueError for what was not encrypted with this key."""
        blocks = (text[n : n + _CIPHER_BLOCK] for n in range(0, len(text), _CIPHER_BLOCK))
        plain = [self._cipher.decrypt(block, sentinel=None) for block in blocks]
        if None in plain:
            msg = "the first message is not encrypted with the key of this OpenD"
            raise ValueError(msg)
        return b"".join(block for block in plain if block)


class Conversation:
    """The key and the vector that the first answer gave; every message begins anew."""

    def __init__(self, key: str, vector: str) -> None:
        self._key: bytes = key.encode()
        self._vector: bytes = vector.encode()

    def encrypt(self, plain: bytes) -> bytes:
        """Return it with padding."""
        cipher = AES.new(self._key, AES.MODE_CBC, iv=self._vector)
        return cipher.encrypt(pad(plain, AES.block_size))

    def decrypt(self, text: bytes) -> bytes:
        """Take it apart; ValueError for what is not of this conversation."""
        cipher = AES.new(self._key, AES.MODE_CBC, iv=self._vector)
        return unpad(cipher.decrypt(text), AES.block_size)
