"""Papers as compositions: who speaks, what is asked, which tokens count, how the target moves. Fields are the knobs."""
