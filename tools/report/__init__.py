"""What every verb draws and writes with: figures, pages, folders, progress."""
