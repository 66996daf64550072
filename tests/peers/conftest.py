"""The models run inside the servers, with what is installed there."""

collect_ignore = ["models"]
