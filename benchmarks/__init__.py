"""What deploys and model servers cost, measured."""
