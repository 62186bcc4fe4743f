"""What happens now and then while a run goes on."""
