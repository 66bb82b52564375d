"""What runs in processes of their own, on a stranger's data. It knows nothing of the daemon."""
