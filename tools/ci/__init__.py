"""What the workflows in .github/workflows/ run besides what a person types."""
