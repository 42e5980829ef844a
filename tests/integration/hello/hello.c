#include <stdio.h>

int main(void) {
    int answer = 42;
    printf("hello from C: %d\n", answer);
    return 0;
}
