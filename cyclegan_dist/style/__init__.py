"""Neural style transfer (Gatys et al. 2016), beside which translations are shown as in the paper."""
