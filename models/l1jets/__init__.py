"""The jet classifier of a Level-1 trigger: features, networks in floating point and with six bits, and trees."""
