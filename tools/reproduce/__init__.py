"""Every figure of Herreros et al. 2014, reproduced: picture, numbers, and statements tested."""
