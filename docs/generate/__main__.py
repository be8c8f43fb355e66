"""``make docs``: write the generated parts of docs/, and draw pictures: those named, or the short ones."""

import sys

from .pages import main
from .pictures import draw_pictures

main()
draw_pictures(sys.argv[1:])
