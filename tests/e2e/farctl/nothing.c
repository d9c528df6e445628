/* nothing.c - an empty library to preload. */
extern int far_test_nothing;
int far_test_nothing = 1;
