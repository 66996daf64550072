"""The top tagger: its simulated jets, its jet-image network and the proof of how well it works."""
