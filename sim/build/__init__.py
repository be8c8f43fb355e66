"""What is compiled, and by what: simulators, Verilog kept in a cache, netlists, read-back bitstreams."""
