/* report.h - the levels that farctl shows: published by the housekeeper a few times a second. */
#ifndef FAR_CORE_PAGE_REPORT_H
#define FAR_CORE_PAGE_REPORT_H

/* Resident, victim and metadata bytes; requests, reconnects and errors of the links. */
void far_report_levels(void);
/* What the program keeps in local memory outside far memory: its resident set less ours. */
void far_report_outside(void);

#endif
