"""The Python side of Starling: a folder per process, and the frame that all of them stand in."""
