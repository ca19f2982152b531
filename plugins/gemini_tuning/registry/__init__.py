"""Version aliases, roll-back labels and cleanup rules of models in the Vertex AI Model Registry."""
