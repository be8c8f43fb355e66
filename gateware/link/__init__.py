"""The host link: frames, requests and replies, telemetry, UART."""
