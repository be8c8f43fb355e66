from .calibration import Goals as Goals
from .calibration import calibrate as calibrate
from .plasticity_events import CalibrationError as CalibrationError
from .thresholds import select_thresholds as select_thresholds
