"""Behind ``microzone infer``: from a behaviour to configurations."""
