"""Who is learnt from: a model in memory, several, what one said before, a server."""
