"""Figures of Herreros et al. 2014 and of the CFPC paper, reproduced: picture, numbers, statements tested."""
