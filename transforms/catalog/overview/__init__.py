"""What people read of a catalog: its status, a night, many nights, one video."""
