"""Which open places may settle now."""
