"""Sources and outputs: where events come from, and where they are kept.

Sources read ROOT files (TTree and RNTuple), Parquet files, or make events up; outputs write ROOT, Parquet and
histograms. Nothing is imported here, so that a job pays only for the formats it uses.
"""
