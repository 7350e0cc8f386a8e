"""`deploy demo`: the whole path, on a throwaway host of this machine, with nothing pretended."""
