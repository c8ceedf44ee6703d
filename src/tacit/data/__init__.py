"""What is learned from: images and the datasets made of them."""
