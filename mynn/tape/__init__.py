"""The tape: public calls on tensors are recorded, and run together when somebody looks."""
