"""``make docs``: write every generated part of docs/."""

from .pages import main

main()
