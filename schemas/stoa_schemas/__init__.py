"""The models that both sides share: what authors write, and what the compiler hands to the runtime."""
