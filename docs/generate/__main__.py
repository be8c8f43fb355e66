"""``make docs``: write every generated part of docs/, and draw the pictures that are named, or the short ones."""

import sys

from .pages import main
from .pictures import draw_pictures

main()
draw_pictures(sys.argv[1:])
