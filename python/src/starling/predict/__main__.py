"""Runs the prediction service: `python -m starling.predict`."""

from starling.frame.process import Service, main

main(Service("predict"))
