"""What can be done to a trained network: its weights into another (`transfer`), another patch size (`patches`)."""
