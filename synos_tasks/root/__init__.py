"""The room of the verbs about this project itself: doctor, test, lint, docs."""
