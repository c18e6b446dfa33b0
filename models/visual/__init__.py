"""Visual models: frames in, embeddings and class scores out."""
