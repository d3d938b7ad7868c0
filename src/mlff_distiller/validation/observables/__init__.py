"""What dynamics and statics of a potential show: one file for each family, any potential, and how far two are apart."""
