"""A live facade under random faults for minutes: what it holds when nobody asks may not grow."""
