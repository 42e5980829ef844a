"""`inv services.*`: NATS, PostgreSQL and Redis, in containers that keep running."""
