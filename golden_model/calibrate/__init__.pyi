from .calibration import calibrate as calibrate
from .goals import CalibrationError as CalibrationError
from .goals import Goals as Goals
from .thresholds import select_thresholds as select_thresholds
