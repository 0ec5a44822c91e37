DRIFT_MARGIN = 0.06  # by which a chance may be off 0.5: less than 0.2 standard deviations, what Cohen calls small
