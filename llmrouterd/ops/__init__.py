"""RUN. The composition root: builds everything, opens the nurseries, answers what is not a chat."""
