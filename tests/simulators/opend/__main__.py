"""Runs the simulator: says its ports in one line of JSON, and ends when its standard input does."""

import argparse
import json
import sys
from pathlib import Path

from tests.simulators.opend.server import OpenD
from tests.simulators.opend.simulation import Simulation


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.simulators.opend")
    parser.add_argument("--folder", type=Path, required=True, help="where the account is kept")
    parser.add_argument("--key-file", type=Path, help="RSA key of 1024 bits; plain without one")
    arguments = parser.parse_args()
    opend = OpenD(Simulation(arguments.folder), arguments.key_file)
    ports = {"port": opend.port, "control_port": opend.control_port}
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    try:
        sys.stdin.read()
    finally:
        opend.close()


if __name__ == "__main__":
    main()
