"""The SIDD data set: its MATLAB files, scenes and blocks."""
