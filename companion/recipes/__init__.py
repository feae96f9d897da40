"""What few chapters share: trainings, landscapes, tuning, batches that grow."""
