"""The limitations that the paper names, reproduced on drawn images whose truth is known."""
