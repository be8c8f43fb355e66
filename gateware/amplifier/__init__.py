"""Front end for Intan RHD2000 amplifier chips, over SPI."""
