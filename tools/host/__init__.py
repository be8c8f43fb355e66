"""The host of a board: link, registers, parameters, recording, monitor."""
