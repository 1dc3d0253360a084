"""The prediction service. As yet it is the frame alone: health, metrics, an orderly end. It predicts nothing."""
