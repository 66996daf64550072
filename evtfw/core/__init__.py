"""What an event, a module and a process are; the plan; the scheduler. Knows no other room."""
