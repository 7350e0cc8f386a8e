"""The on-host runtime for compiled BitNet and llama.cpp binaries."""
