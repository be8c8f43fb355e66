"""What a chip is put into: protocols, a virtual preparation, an engine for sessions by the thousand."""
