"""Runs the simulator: says its ports in one line of JSON, and ends when its standard input does."""

import argparse
import json
import sys
from pathlib import Path

from tests.simulators.alpaca.server import Simulator
from tests.simulators.alpaca.simulation import Simulation


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.simulators.alpaca")
    parser.add_argument("--folder", type=Path, required=True, help="where the account is kept")
    simulator = Simulator(Simulation(parser.parse_args().folder))
    port, control_port = simulator.ports
    sys.stdout.write(json.dumps({"port": port, "control_port": control_port}) + "\n")
    sys.stdout.flush()
    try:
        sys.stdin.read()
    finally:
        simulator.close()


if __name__ == "__main__":
    main()
